FROM alpine
EXPOSE 1-65535 1-65535/udp 1-65535/sctp
LABEL a0=x
RUN true 0
LABEL a1=x
RUN true 1
LABEL a2=x
RUN true 2
LABEL a3=x
RUN true 3
LABEL a4=x
RUN true 4
LABEL a5=x
RUN true 5
LABEL a6=x
RUN true 6
LABEL a7=x
RUN true 7
LABEL a8=x
RUN true 8
LABEL a9=x
RUN true 9
LABEL a10=x
RUN true 10
LABEL a11=x
RUN true 11
LABEL a12=x
RUN true 12
LABEL a13=x
RUN true 13
LABEL a14=x
RUN true 14
LABEL a15=x
RUN true 15
LABEL a16=x
RUN true 16
LABEL a17=x
RUN true 17
LABEL a18=x
RUN true 18
LABEL a19=x
RUN true 19
