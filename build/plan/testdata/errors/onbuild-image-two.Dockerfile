FROM badtrigger3
