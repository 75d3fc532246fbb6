FROM alpine
ENV A=1 B="two words" C=three\ words
ENV A=2 OLD_A=$A
ENV LEGACY some text with $B
ENV PATH=/opt/bin:$PATH D=${NOPE:-default} E=${A:+set} F="${B#two }" G=${B%%words} H=${B//o/0} I='$A' J=\$A
RUN env
