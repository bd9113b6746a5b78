"""Files of series: a module a format, `reading` is what others call."""
