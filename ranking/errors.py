"""What every error about bad input has in common."""


class InputError(ValueError):
  """Bad input: the message is one line that names the thing, what it got and the cure.

  A command prints it and exits with code 2; anything else that is raised is a defect of ours.
  """
