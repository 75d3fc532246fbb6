FROM scratch
COPY app.wasm /
RUN ["/app.wasm"]
