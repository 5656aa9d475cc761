"""The guards of a request: one file each, a function `guard(call)` that changes the call or raises `Refused`."""
