"""What exit codes mean."""

YES = 0
NO = 1  # a comparison failed
UNKNOWN = 2  # could not find out
BROKEN = 70  # portkit itself broke
