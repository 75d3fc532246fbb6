from alpine
cpoy a b
