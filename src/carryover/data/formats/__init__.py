"""Files → examples: a module a format, over lines that are plain, gzip or xz; `reading` is what others call."""
