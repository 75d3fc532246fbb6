FROM scratch AS One
[31mBOOM[0m x
