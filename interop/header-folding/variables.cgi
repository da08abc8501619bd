#!/bin/sh
# Prints the variables as the server made them. Of two variables with one name, a shell would keep
# only one.
printf 'Content-Type: text/plain\r\n\r\n'
tr '\0' '\n' <"/proc/$$/environ"
