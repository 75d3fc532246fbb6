FROM Not/Valid
