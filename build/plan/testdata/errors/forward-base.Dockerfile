FROM second AS first
FROM alpine AS second
FROM first
