{"syntax": "example.com/other:1"}
