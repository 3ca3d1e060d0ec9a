"""What a user can cause. The command line prints the sentence, without a traceback, and exits with `code`."""


class Failed(Exception):
    """Something outside the program is not as it has to be; the message is one sentence that says what to do."""

    code = 1


class Usage(Failed):
    """The program was asked for something that makes no sense: a wrong option, key, type or name."""

    code = 2
