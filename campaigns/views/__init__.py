"""The pages, a file a screen. Each view parses, calls one thing, answers; each says who may use it."""

from campaigns.views import customers, health, home, signin

BLUEPRINTS = (health.pages, signin.pages, home.pages, customers.pages)
