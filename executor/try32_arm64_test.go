package executor_test

// try32 would need another program here.
func try32() []string { return nil }
