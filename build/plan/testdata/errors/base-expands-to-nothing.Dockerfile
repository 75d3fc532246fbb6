FROM alpine AS one
FROM $BASE
