"""The tables of accounts."""

from accounts.sign_in.allowances import Allowance

__all__ = ["Allowance"]
