"""What a reply would fetch, run or hide an address behind when somebody renders it, and how it is made plain text instead."""
