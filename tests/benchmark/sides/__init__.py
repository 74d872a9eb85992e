"""The programs compared, each as small as its documentation has it."""
