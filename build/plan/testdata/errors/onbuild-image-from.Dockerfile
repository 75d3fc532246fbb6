FROM badtrigger
