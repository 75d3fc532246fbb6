#!/usr/bin/env other
# syntax=example.com/other:1 with words
FROM alpine
