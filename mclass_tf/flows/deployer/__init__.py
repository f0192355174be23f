"""A deployment of an ECS service: started, followed through its pauses, tested, compared and rolled back."""
