FROM alpine AS builder
FROM bulder
