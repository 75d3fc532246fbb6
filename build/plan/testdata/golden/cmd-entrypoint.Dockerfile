FROM appbase AS reset
ENTRYPOINT ["/new"]
FROM appbase AS kept
CMD echo hi
ENTRYPOINT run it
FROM appbase AS cleared
CMD []
ENTRYPOINT []
FROM alpine
COPY --from=reset / /
COPY --from=kept / /
COPY --from=cleared / /
CMD a b
CMD ["c"]
