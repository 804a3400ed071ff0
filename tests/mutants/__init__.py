"""Bugs put in on purpose: `python -m tests.mutants [NAME ...]` puts each into a copy and sees a test fail.

One module a tested file, tests/mutants/NAME.py:

    FILE = "rankstudy/rank.py"
    TESTS = ("tests/test_rank.py",)  # pytest's arguments; it stops at the first failure
    MUTANTS = [("what is wrong", "old text", "new text"), ...]

Old text must occur exactly once. Whoever adds a law adds the mutant that breaks it.
"""
