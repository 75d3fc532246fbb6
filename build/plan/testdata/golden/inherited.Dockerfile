FROM appbase
RUN true
