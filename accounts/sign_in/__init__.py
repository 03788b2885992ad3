"""How people sign in with a password: limits of wrong ones, changing and resetting them."""
