"""What commands end with beside success: bad input, or a wish to stop."""


class InputError(ValueError):
  """Bad input: the message is one line that names the thing, what it got and the cure.

  A command prints it and exits with code 2; anything else that is raised is a defect of ours.
  """


class Lost(Exception):
  """Another process that the work needs is gone; the message is one line that says how to go on.

  A command prints it and exits with code 75, "try again later", as sendmail and cron know it.
  """


class Stopped(Exception):
  """A signal or a closed output stopped the work; the message is one line that says how to go on.

  A command prints it and exits with code 143; nothing of its work is lost.
  """


def first_line(error: BaseException) -> str:
  """What an error says, in a line: without what gin adds after it, and Keras before it."""
  lines = [line.strip() for line in str(error).splitlines() if line.strip()]
  if len(lines) > 1 and lines[0].startswith("Exception encountered when calling layer"):
    return lines[1]
  return (lines or [type(error).__name__])[0]
