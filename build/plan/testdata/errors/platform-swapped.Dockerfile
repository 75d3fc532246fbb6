FROM --platform=arm64/v8 alpine
