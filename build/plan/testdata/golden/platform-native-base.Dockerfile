# The image is for what was asked for, whatever it is made of.
FROM --platform=$BUILDPLATFORM multi
RUN true
