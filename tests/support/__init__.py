"""What tests of several rooms share: real servers in place of others, and what is asked of ours."""
