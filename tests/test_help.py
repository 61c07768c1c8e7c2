"""What `portkit --help` says, word for word: it is the first thing that anyone reads."""

HELP = """\
Usage: portkit [OPTIONS] COMMAND [ARGS]...

  Move trained weights between models and file formats, and prove that nothing
  was lost.

Options:
  --version   Show the version and exit.
  -h, --help  Show this message and exit.

Commands:
  convert   Port weights from one model or file to another.
  verify    Prove ported files against their sources.
  plan      Show what convert would do to each tensor; reads no value.
  inspect   List the tensors of a file or model; several side by side.
  mappings  List, show, check and start mappings.
  demo      Port, prove and evaluate a small trained net, offline.

  Exit codes: 0 yes; 1 no, a comparison failed; 2 could not find out; 70 portkit broke.
  References: torchvision:vgg16, torchvision:vgg16@FILE, torchvision:vgg16@random:7,
              conv-head:vgg16@FILE, demo:fashion, python:MODULE:FACTORY, or a file.
"""


def test_help_is_this(run):
    assert run("--help") == (0, HELP, "")


def test_no_command_shows_the_help(run):
    assert HELP.splitlines()[0] in "".join(run()[1:])
