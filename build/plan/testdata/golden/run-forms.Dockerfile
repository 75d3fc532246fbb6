FROM alpine
RUN ["/bin/prog", "a b", "$HOME"]
RUN echo one \
  && echo two \
# a comment
  && echo three
RUN --network=none true
RUN --network=host --security=sandbox true
USER app:staff
RUN whoami
