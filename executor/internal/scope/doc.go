// Package scope asks an ordinary user's systemd, over D-Bus, for a control group that the user may divide.
package scope
