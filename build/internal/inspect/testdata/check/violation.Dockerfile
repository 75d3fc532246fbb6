# check=skip=StageNameCasing;error=true
FROM scratch AS One
MAINTAINER me
