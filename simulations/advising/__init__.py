"""Should this model be serverless? What else it could be, and what that would cost."""
