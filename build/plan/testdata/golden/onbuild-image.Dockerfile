FROM onbuildbase
RUN after
ONBUILD RUN mine
