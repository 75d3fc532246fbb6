FROM badtrigger4
