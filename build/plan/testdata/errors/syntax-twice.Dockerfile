# syntax=docker/dockerfile:1
# Syntax = docker/dockerfile:1
FROM alpine
