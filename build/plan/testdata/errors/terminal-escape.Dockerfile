FROM alpine
RUM [31mred ‮
