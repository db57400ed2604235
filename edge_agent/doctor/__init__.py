"""What is wrong with this station or machine, and how to mend it."""
