FROM multi
COPY a.exe /
