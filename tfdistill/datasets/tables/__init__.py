"""Tables of one's own: files and data frames to checked columns, with what was found out."""
