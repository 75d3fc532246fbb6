FROM alpine
ENV a=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
ENV a=$a$a$a$a$a$a$a$a$a$a$a$a$a$a$a$a$a$a$a$a
ENV a=${a//a/${a//a/${a//a/bbbb}}}
