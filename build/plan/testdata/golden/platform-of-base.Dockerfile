# Nothing was asked for: the image is for what its base is for.
FROM --platform=linux/arm64/v8 multi AS arm
FROM arm AS target
RUN true
