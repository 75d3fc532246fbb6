FROM alpine AS a
ONBUILD ENV X=${V:?for the stage on top}
FROM a
