FROM --platform=tux alpine
