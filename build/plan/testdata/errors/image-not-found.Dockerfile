FROM no/such:image
