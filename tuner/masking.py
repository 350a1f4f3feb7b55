"""Text without the passwords of the URLs in it."""

import re

HIDDEN = "***"
USER = re.compile(r"(://[^\s:/@]*:)[^\s'\"]+@")
QUERY = re.compile(r"([?&](?:password|passwd|sslpassword)=)[^&\s'\"]+")


def masked(text: str) -> str:
    """The text as anybody may see it."""
    return QUERY.sub(rf"\1{HIDDEN}", USER.sub(rf"\1{HIDDEN}@", text))


def has_password(text: str) -> bool:
    return masked(text) != text
