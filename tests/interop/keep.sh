#!/bin/sh
# Run by the Debian package `webhook` for each request whose signature it accepted: keeps the raw body.
printf %s "$BODY" > "$KEEP_DIR/$1"
